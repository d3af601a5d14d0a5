//go:build !cgo

package event

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
	"github.com/klauspost/compress/zstd"
)

// TestCompressorsAreSmall compresses as the engine does, at its levels, and
// reads from the frame which window the compressor has.
func TestCompressorsAreSmall(t *testing.T) {
	if err := setUpCompressors(); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 4*compressWindow)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(data)
	copy(data[len(data)/2:], bytes.Repeat([]byte("guanlan "), 1<<16))
	for _, level := range []int{1, 2, 3} {
		packed := encoding.CompressZSTDLevel(nil, data, level)
		var h zstd.Header
		if err := h.Decode(packed); err != nil {
			t.Fatal(err)
		}
		if h.WindowSize != compressWindow {
			t.Errorf("level %d: a window of %d bytes, want %d: the engine does not use our compressors", level, h.WindowSize, compressWindow)
		}
		got, err := encoding.DecompressZSTD(nil, packed)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("level %d: does not come back: error %v", level, err)
		}
	}
}
