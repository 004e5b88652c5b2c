/* sqrt(x) of a normal x > 0, with a last step that mends the rounding of the ones before. */
static inline float square_root(float x)
{
    const float y = inverse_root(x), root = x * y;
    return root + 0.5f * y * (x - root * root);
}
