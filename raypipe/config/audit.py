"""The flags of `audit`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from raypipe.config.checks import fraction, one_source, require
from raypipe.config.common import CommonConfig, HfToken, secret


@dataclass(frozen=True, kw_only=True)
class AuditConfig(CommonConfig):
    """List the rows whose label is suspect, by a model that has not seen them; nothing is changed."""

    input_hf_dataset: str | None = None
    """Dataset repository (user/name[@revision]) or folder with train.csv and test.csv."""
    split: Literal["all", "train", "test"] = "all"
    """Which rows of the dataset are audited; each is judged by models of others among these."""
    input_dir: str | None = None
    """Folder of local files to audit instead."""
    filename: str | None = None
    """The local file (.jsonl, .jsonl.gz, .csv, .parquet) or glob."""
    label_map: str | None = None
    """CSV file with the columns old,new: labels of the local files to rename first, as prepare does."""
    output_filename: Annotated[str, arg(aliases=["-o"])]
    """DIR/NAME.jsonl; the outputs are DIR/NAME_suspects.jsonl, DIR/NAME_audit.json and DIR/NAME_audit.html."""
    text: str = "text"
    """Column that holds the text."""
    subject_column: str = "label"
    """Column that holds the label."""
    hf_access_token: HfToken = secret()
    """Hugging Face token; HF_TOKEN or the Hub's own store serve without it."""
    folds: int = 5
    """Parts of the rows, stratified by label; each is judged by a model of all others (at least 2)."""
    near_copy_threshold: float = 0.9
    """TF-IDF cosine (0 < t <= 1) from which a row is kept out of the model that judges its near-copy, whose label may
    be wrong in the same way."""
    top_share: float = 1.0
    """Share (0 < s <= 1) of the judged rows, most suspect first, that the suspects file lists."""

    def validate(self) -> None:
        super().validate()
        one_source(self.input_hf_dataset, self.input_dir, self.filename, self.label_map)
        require(
            self.split == "all" or self.input_hf_dataset is not None,
            f"--split {self.split} without --input-hf-dataset",
            "a dataset with splits",
        )
        require(self.text != self.subject_column, f"--text and --subject-column both {self.text!r}", "two columns")
        require(
            self.output_filename.endswith(".jsonl"),
            f"--output-filename {self.output_filename!r}",
            "a name that ends in .jsonl",
            f"-o {self.output_filename}.jsonl",
        )
        require(self.folds >= 2, f"--folds {self.folds}", "at least 2")
        fraction(self.near_copy_threshold, "--near-copy-threshold", one_allowed=True)
        fraction(self.top_share, "--top-share", one_allowed=True)
