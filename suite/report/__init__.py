"""Reports: verdicts in, text out."""

from suite.report.table import markdown_table, summary, text_table

__all__ = ["markdown_table", "summary", "text_table"]
