"""`penstock trace`: joins the trace files of all processes into one file for the Perfetto viewer."""
