"""BERT base (Devlin et al., 2018; 110 million parameters), masked-language training on 128 tokens, batch 2."""

from . import Case
from .data import integers, token_loss

TINY = {"batch": 2, "layers": 2, "heads": 2, "width": 16, "length": 8, "vocabulary": 32}


def build(torch, batch=2, layers=12, heads=12, width=768, length=128, vocabulary=30522):
    nn = torch.nn

    class BERT(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.kinds = nn.Embedding(vocabulary, width), nn.Embedding(2, width)
            self.places = nn.Embedding(length, width)
            self.ln, self.dropout = nn.LayerNorm(width), nn.Dropout(0.1)
            layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.1, "gelu", batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
            self.decoder = nn.Linear(width, vocabulary)
            self.decoder.weight = self.words.weight
            nn.init.normal_(self.words.weight, std=0.02)

        def forward(self, ids, kinds):
            places = torch.arange(ids.shape[1], device=ids.device)
            x = self.ln(self.words(ids) + self.places(places) + self.kinds(kinds))
            return self.decoder(self.transform(self.encoder(self.dropout(x))))

    ids, kinds = integers(torch, vocabulary, batch, length), integers(torch, 2, batch, length, seed=1)
    return Case(BERT(), (ids, kinds), (integers(torch, vocabulary, batch, length, seed=2),), token_loss(torch))
