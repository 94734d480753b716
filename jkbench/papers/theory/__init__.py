"""The paper's theory, checked: what noise adds to a loss, the transfer bound, and a picture of Jacobian matching."""
