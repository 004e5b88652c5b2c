/* The whole part of the square root of 0 <= value < 2^62. */
static int64_t whole_root(int64_t value)
{
    int64_t root = 0;
    for (int64_t bit = (int64_t)1 << 30; bit > 0; bit >>= 1) {
        const int64_t tried = root + bit;
        root = tried * tried <= value ? tried : root;
    }
    return root;
}
