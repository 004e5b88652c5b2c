"""Pictures and pages stand by themselves: on any background, in any number, nothing loaded."""

import re
import xml.etree.ElementTree as tree

import matplotlib
import pytest

from throughtime.errors import ThroughtimeError
from throughtime.inspect import picture
from throughtime.inspect.document import document, figure


def paint(axes):
    for place in axes:
        place.plot([1, 2, 3], [3, 1, 2], label="one <way>")
        place.set(xlabel="lag & more", ylabel="norm")
        place.legend()


def drawn(**options):
    return picture.to_svg(picture.draw(paint, **options), "a title <b>")


def test_a_picture_is_svg_that_takes_its_ink_from_the_text_around_it():
    text = drawn()
    root = tree.fromstring(text)
    assert root.tag.endswith("svg")
    assert root[0].text == "a title <b>"
    assert "currentColor" in text
    assert not re.search(r"#000000|fill: black|#13161a|<style|<metadata", text)
    # Words stay words, to be read and searched.
    assert "lag &amp; more" in text


def test_two_pictures_on_a_page_have_no_name_in_common():
    other = picture.to_svg(picture.draw(paint), "another")
    names = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (drawn(), other)]
    assert not names[0] & names[1]
    for text, own in zip((drawn(), other), names, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= own


def test_the_same_picture_is_the_same_text():
    assert drawn() == drawn()


def test_pictures_leave_the_look_of_others_alone():
    before = dict(matplotlib.rcParams)
    drawn(columns=2)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("columns", [1, 3])
def test_axes_are_given_from_left_to_right(columns):
    seen = []
    picture.draw(seen.extend, columns=columns)
    lefts = [axes.get_position().x0 for axes in seen]
    assert len(seen) == columns
    assert lefts == sorted(lefts)


def test_a_picture_goes_into_a_file(tmp_path):
    picture.save(picture.draw(paint), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_lets_no_text_out_of_its_place():
    bad = "</script><script>alert(1)</script>"
    page = document(bad, bad, figure(bad, drawn(), bad), data={"text": bad})
    assert "<script>alert" not in page
    assert page.count("<script") == 2
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "default-src 'none'" in page


def test_without_matplotlib_it_is_said_before_anything_is_measured(monkeypatch):
    picture.check_can_draw()
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    with pytest.raises(ThroughtimeError, match="expected the package matplotlib"):
        picture.check_can_draw()
