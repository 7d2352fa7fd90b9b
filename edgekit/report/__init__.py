"""The report: measurements and accuracies as one self-contained HTML page."""
