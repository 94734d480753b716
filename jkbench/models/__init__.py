"""Networks: the paper's VGGs by layer string, timm models, their heads, and batch norm while Jacobians are taken."""
