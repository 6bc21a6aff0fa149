"""Results (JSON) become one HTML page."""

from unseen.report.contact_sheet import contact_sheet
from unseen.report.page import report

__all__ = ["contact_sheet", "report"]
