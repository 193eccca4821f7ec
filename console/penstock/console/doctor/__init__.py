"""`penstock doctor`: what must be right around Penstock, looked at from here."""
