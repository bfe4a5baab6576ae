"""BERT's forward pass in plain numpy, as the papers write it: the reference for vectors and the peer for speed."""
import json, math, struct
import numpy as np
from scipy.special import erf


class Model:
    def __init__(self, folder):
        self.config = json.load(open(folder + "/config.json"))
        raw = np.memmap(folder + "/model.safetensors", np.uint8, "r")
        (n,) = struct.unpack("<Q", raw[:8].tobytes())
        header = json.loads(raw[8:8 + n].tobytes())
        self.w = {}
        for name, t in header.items():
            if name != "__metadata__" and t["dtype"] == "F32":
                a, b = t["data_offsets"]
                self.w[name] = np.array(raw[8 + n + a:8 + n + b]).view(np.float32).reshape(t["shape"])

    def norm(self, x, name):
        m = x.mean(-1, keepdims=True)
        v = ((x - m) ** 2).mean(-1, keepdims=True)
        return (x - m) / np.sqrt(v + self.config["layer_norm_eps"]) * self.w[name + ".weight"] + self.w[name + ".bias"]

    def dense(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def vector(self, ids):
        """ids with [CLS] and [SEP]; the mean of the last layer's tokens, at length 1."""
        w, heads, n = self.w, self.config["num_attention_heads"], len(ids)
        e = "embeddings."
        x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:n] + w[e + "token_type_embeddings.weight"][0]
        x = self.norm(x, e + "LayerNorm")
        split = lambda t: t.reshape(n, heads, -1).transpose(1, 0, 2)
        for k in range(self.config["num_hidden_layers"]):
            p = "encoder.layer.%d." % k
            q, key, v = (split(self.dense(x, p + "attention.self." + s)) for s in ("query", "key", "value"))
            s = q @ key.transpose(0, 2, 1) * np.float32(1 / math.sqrt(q.shape[-1]))
            s = np.exp(s - s.max(-1, keepdims=True))
            s /= s.sum(-1, keepdims=True)
            c = (s @ v).transpose(1, 0, 2).reshape(n, -1)
            x = self.norm(x + self.dense(c, p + "attention.output.dense"), p + "attention.output.LayerNorm")
            u = self.dense(x, p + "intermediate.dense")
            u = u * np.float32(.5) * (1 + erf(u * np.float32(math.sqrt(.5))))
            x = self.norm(x + self.dense(u, p + "output.dense"), p + "output.LayerNorm")
        m = x.mean(0)
        return m / np.sqrt((m * m).sum())
