/* Months since January of the year 0 of a time in microseconds since 1970, by counting years from
   March on, so that the day that comes and goes is their last. */
static int64_t month_of(int64_t time)
{
    const int64_t day_length = 86400000000;
    int64_t days = time / day_length - (time % day_length < 0) + 719468; /* since 1 March 0000 */
    const int64_t era = (days >= 0 ? days : days - 146096) / 146097;     /* of 400 years */
    days -= era * 146097;
    const int64_t year = (days - days / 1460 + days / 36524 - days / 146096) / 365;
    const int64_t day = days - (365 * year + year / 4 - year / 100);
    return 12 * (year + 400 * era) + (5 * day + 2) / 153 + 2;
}
