//go:build !cgo

package event

import (
	"sync/atomic"
	_ "unsafe" // for go:linkname

	_ "github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding/zstd" // has engineEncoders
	"github.com/klauspost/compress/zstd"
)

// engineEncoders is where the engine keeps its compressors, one for each
// level, a map[zstd.EncoderLevel]*zstd.Encoder. There is no setting for what
// follows. TestCompressorsAreSmall tells when a new version has it elsewhere.
//
//go:linkname engineEncoders github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding/zstd.av
var engineEncoders atomic.Value

// compressWindow is how far back a compressor looks. The engine compresses a
// column of a block at a time, at most 2 MiB and mostly a tenth of that.
const compressWindow = 1 << 20

// setUpCompressors gives the engine compressors that take a small part of the
// memory of those that it would make itself, which remember up to 16 MiB each,
// and of which there is one for each core and level. All are of the fastest
// level: the next one costs a µs of processor a span and saves a hundredth of
// the disk. See ADR 0025.
func setUpCompressors() error {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(compressWindow))
	if err != nil {
		return err
	}
	// The levels of the engine share it.
	engineEncoders.Store(map[zstd.EncoderLevel]*zstd.Encoder{zstd.SpeedFastest: e, zstd.SpeedDefault: e})
	return nil
}
