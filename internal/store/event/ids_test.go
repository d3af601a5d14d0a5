package event

import (
	"math"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestIDDigits(t *testing.T) {
	if len(idDigits) != idBase || math.Pow(idBase, idWidth) < math.MaxUint64 {
		t.Fatalf("%d digits, %d places: want %d digits, enough for 64 bits", len(idDigits), idWidth, idBase)
	}
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, math.MaxUint64})).Draw(t, "id")
		text := string(appendID(nil, id))
		if got, ok := parseID(text); !ok || got != id {
			t.Fatalf("parseID(appendID(%d)) = %d, %v", id, got, ok)
		}
		for _, r := range text {
			if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' {
				t.Fatalf("%q has the word character %q, which costs two bytes in a word filter", text, r)
			}
		}
	})
}
