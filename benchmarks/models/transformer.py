"""The block that GPT, ViT and generation share."""

from __future__ import annotations


def block(torch):
    """The class of pre-norm transformer blocks of a library."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        """``x + attention(norm(x))``, then ``x + mlp(norm(x))``, with an optional cache of keys and values."""

        def __init__(self, width, heads, causal):
            super().__init__()
            self.heads, self.causal = heads, causal
            self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def attention(self, x, cache, positions, mask):
            b, t, c = x.shape
            q, k, v = self.qkv(x).split(c, dim=2)
            q, k, v = (a.view(b, t, self.heads, c // self.heads).transpose(1, 2) for a in (q, k, v))
            if cache is None:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            else:  # written in place, where the positions say: whatever they are, the shapes stay
                k, v = (old.index_copy_(2, positions, new) for old, new in zip(cache, (k, v), strict=True))
                y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return self.out(y.transpose(1, 2).contiguous().view(b, t, c))

        def forward(self, x, cache=None, positions=None, mask=None):
            x = x + self.attention(self.ln1(x), cache, positions, mask)
            return x + self.down(F.gelu(self.up(self.ln2(x))))

    return Block
