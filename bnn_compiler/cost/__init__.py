"""Which schedule a kernel gets and what it takes: records, a cost model. It answers, never measures."""
