"""Playing blue by hand: one case dealt to a person or a script, its ledger on disk, its report, its end."""
