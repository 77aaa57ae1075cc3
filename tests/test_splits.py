"""A dataset folder as others may have written it."""

import warnings

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from raypipe import DataError, hub, splits

GOOD = "text,label\none,a\ntwo,b\n"


def dataset(folder, train=GOOD, test=GOOD):
    for name, content in (("train", train), ("test", test)):
        (folder / f"{name}.csv").write_text(content)
    return str(folder)


def load(folder):
    return splits.load(folder, "text", "label", None)


@pytest.mark.parametrize("broken", ["hello, world,greet", "one,a,", 'one,a,"b,c"'])
@pytest.mark.parametrize("every", [True, False], ids=["every row", "one row"])
def test_rows_with_a_field_too_many_are_refused_not_shifted(tmp_path, broken, every):
    lines = [broken] * 3 if every else ["x,y", broken, "x,y"]
    with warnings.catch_warnings(), pytest.raises(DataError, match=r"train\.csv is not readable as CSV"):
        warnings.simplefilter("ignore")
        load(dataset(tmp_path, "\n".join(["text,label", *lines]) + "\n"))


def test_a_doubled_column_is_refused_where_it_is_wanted(tmp_path):
    assert load(dataset(tmp_path, "text,label,note,note\none,a,1,2\n")).labels == ["a"]
    with pytest.raises(DataError, match=r"train\.csv has 2 columns 'text'"):
        load(dataset(tmp_path, "text,label,text\none,a,other\n"))


def test_ids_and_weights_count_for_an_evaluation_alone(tmp_path):
    def marks(content):
        read = load(dataset(tmp_path, content))
        return read.fingerprint(), read.row_fingerprint()

    first = marks("text,label,id,weight\none,a,1,2\n")
    weighted, renamed = marks("text,label,id,weight\none,a,1,3\n"), marks("text,label,id,weight\none,a,7,2\n")
    assert first[0] == weighted[0] == renamed[0]
    assert len({first[1], weighted[1], renamed[1]}) == 3


def test_weights_that_are_none_are_not_taken_for_one(tmp_path):
    read = load(dataset(tmp_path, "text,label,weight\none,a,many\ntwo,b,2\n"))
    assert read.train["weight"].isna().tolist() == [True, False] and read.test["weight"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("kind", "given", "refused"),
    [
        (ClassLabel(names=["a", "b"]), [0, None, 1], "1 rows of train of .* have no label .the first is number 2"),
        (ClassLabel(names=["a", "b"]), [0, 1, -1], "1 rows of train of .* have no label .the first is number 3"),
        (List(ClassLabel(names=["a", "b"])), [[0], [0, 1], []], "lists in the column 'label' of train"),
    ],
)
def test_labels_of_the_hub_that_are_no_single_one_are_refused(tmp_path, kind, given, refused):
    rows = Dataset.from_dict(
        {"text": ["x", "y", "z"], "label": given}, Features({"text": Value("string"), "label": kind})
    )
    for split in ("train", "test"):
        rows.to_parquet(tmp_path / f"{split}.parquet")
    source = hub.Source(str(tmp_path))
    frames = splits._from_hub(source, None)
    with pytest.raises(DataError, match=refused):
        splits._normal(frames["train"], "train", "text", "label", str(source))


def of_the_hub(folder, columns):
    """The training rows of a dataset of parquet files, as a repository of the Hub gives them."""
    for split in ("train", "test"):
        Dataset.from_dict(columns).to_parquet(folder / f"{split}.parquet")
    train = splits._from_hub(hub.Source(str(folder)), None)["train"]
    return splits._normal(train, "train", "text", "label", "it")


def test_booleans_are_the_labels_that_raw_files_have(tmp_path):
    made = of_the_hub(tmp_path, {"text": ["x", "y"], "label": [True, False]})
    assert made["label"].tolist() == ["true", "false"]


def test_a_row_without_an_id_is_named_by_its_place(tmp_path):
    made = of_the_hub(tmp_path, {"text": ["x", "y", "z"], "label": [1, 2, 1], "id": ["a", None, "c"]})
    assert made["id"].tolist() == ["a", "train.csv:2", "c"] and made["label"].tolist() == ["1", "2", "1"]
    assert splits.Splits(made, made, hub.Source("it")).row_fingerprint()


def test_a_file_without_a_header_is_refused_without_its_texts(tmp_path):
    with pytest.raises(DataError, match=r"no column 'text' in train .*which has a long name, 'card_lost'") as refused:
        load(dataset(tmp_path, "My card 4111 was stolen by Bob,card_lost\nanother,b\n"))
    assert "Bob" not in str(refused.value)
