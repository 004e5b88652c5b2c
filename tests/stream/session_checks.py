"""What the tests of sessions share."""

from streams import close


def agree(answer, expected):
    """Whether two answers say the same, numbers to a hundred-thousandth."""
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(
            agree(answer[name], expected[name]) for name in expected
        )
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(map(agree, answer, expected))
    if isinstance(expected, float) and isinstance(answer, float):
        return close(answer, expected)
    return type(answer) is type(expected) and answer == expected
