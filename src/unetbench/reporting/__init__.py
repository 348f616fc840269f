"""Reads results and shows them: tables, files, charts. Never imports torch, never measures."""
