"""Which schedule a kernel gets and what it takes: records, a model. Answers, never measures."""
