"""What a stage hands back."""

from html.parser import HTMLParser

from raypipe import StageResult


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def test_a_notebook_shows_a_result_as_a_table() -> None:
    result = StageResult(
        "prepare",
        "0" * 16,
        outputs={"train": "/data/<script>alert(1)</script>_train.jsonl"},
        counts={"rows_in": 13083, "removed": {"near_duplicate": 1234, "a&b": 2}},
        metrics={"top1": 0.923701},
        seconds=1234.56,
    )
    cells = Cells()
    cells.feed(result._repr_html_())
    assert cells.tags == {"table", "caption", "tr", "th", "td"}
    assert cells.found[0] == "raypipe prepare: done in 1,234.6 s"
    assert cells.found[1:] == [
        *("metrics", "top1", "0.9237"),
        *("counts", "rows_in", "13,083"),
        *("counts", "removed", "near_duplicate: 1,234, a&b: 2"),
        *("outputs", "train", "/data/<script>alert(1)</script>_train.jsonl"),
    ]
