/* Holds the sum of products of any row of weights with any inputs. */
typedef int32_t products;
