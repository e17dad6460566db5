"""How regular a law is: Lipschitz constants, bounded and measured, contraction, inversion."""
