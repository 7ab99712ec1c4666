"""The binary operators: their epilogues, their Relax registration, their meaning in numpy."""
