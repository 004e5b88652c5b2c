static inline int units_in_block(int units, int first, int most)
{
    return units - first < most ? units - first : most;
}
