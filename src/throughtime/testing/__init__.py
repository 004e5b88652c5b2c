"""Checks that a recurrent layer keeps its contract, for the layers here and for your own."""

from throughtime.testing.check import check_recurrent
from throughtime.testing.report import LAWS, Report

__all__ = ["LAWS", "Report", "check_recurrent"]
