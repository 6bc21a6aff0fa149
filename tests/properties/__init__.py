"""Laws that every policy, unit, target and model obeys, and members that break them on purpose."""
