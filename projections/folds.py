"""All that is folded from the log."""

from __future__ import annotations

from projections.datasets import DATASETS_FOLD
from projections.history import HISTORY_FOLD
from projections.issues import ISSUES_FOLD
from projections.jobs_fold import JOBS_FOLD
from projections.label_fields import LABEL_FIELDS_FOLD
from projections.restored import RESTORED_FOLD
from projections.runs_fold import RUNS_FOLD
from projections.streams import STREAMS_FOLD
from projections.unreadable import UNREADABLE_FOLD

FOLDS = (
    STREAMS_FOLD, DATASETS_FOLD, LABEL_FIELDS_FOLD, JOBS_FOLD, ISSUES_FOLD, RUNS_FOLD, HISTORY_FOLD,
    RESTORED_FOLD, UNREADABLE_FOLD,
)  # fmt: skip
