"""The dashboard: a web page that shows the state of the whole stack. Optional: needs the extra `dashboard`."""
