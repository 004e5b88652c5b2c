/* Sums of products with rows of WIDTH columns j, by functions product_WIDTH:
       sums[j] += x[0] rows[0][j] + ... + x[count - 1] rows[count - 1][j]
   The columns are few enough to stay in registers meanwhile. What follows the rows is returned. */
