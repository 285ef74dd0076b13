"""The ventilator's page: what the stack does now, for people with a browser. Optional: needs the extra `dashboard`."""
