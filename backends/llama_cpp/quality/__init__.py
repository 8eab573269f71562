"""What a quantisation costs, measured: two files of one model over the same text, logit by logit."""
