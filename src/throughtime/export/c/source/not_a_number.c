static double not_a_number(void)
{
    const uint64_t bits = 0x7ff8000000000000u;
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}
