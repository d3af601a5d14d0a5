package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/guanlan-io/guanlan/internal/durable"
)

const checkpointFile = "CHECKPOINT"

// checkpoint is the content of the file CHECKPOINT: to what the files of the
// engines can be taken back, and from where to go on. See FORMAT.md.
type checkpoint struct {
	// Clean: the process ended in order. Files of all partitions are
	// complete, also of ones that are not listed.
	Clean   bool
	Time    time.Time
	Signals map[string]*signalState

	blobs map[string][]byte // states of the helpers
}

// signalState is the part of one signal.
type signalState struct {
	// Applied: the partitions contain the records of the journal up to this
	// number, and those of Also, and no others.
	Applied uint64
	Also    []uint64
	// Partitions is all partitions by name, with the name of the snapshot
	// that holds their state; "" for a settled one.
	Partitions map[string]string
}

func newCheckpoint() *checkpoint {
	return &checkpoint{Time: time.Now().UTC(), Signals: map[string]*signalState{}}
}

// The file is a line "guanlan checkpoint 1 CRC LENGTH", LENGTH bytes of JSON,
// and the blobs in the order of their names. CRC is CRC32C of all behind the
// line.
const checkpointHeader = "guanlan checkpoint 1 %08x %d\n"

type checkpointJSON struct {
	*checkpoint
	Blobs []blobJSON
}

type blobJSON struct {
	Name   string
	Length int
}

var errCheckpointDamaged = errors.New("CHECKPOINT is damaged")

func (c *checkpoint) encode() ([]byte, error) {
	out := checkpointJSON{checkpoint: c}
	var blobs []byte
	names := make([]string, 0, len(c.blobs))
	for name := range c.blobs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		out.Blobs = append(out.Blobs, blobJSON{name, len(c.blobs[name])})
		blobs = append(blobs, c.blobs[name]...)
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	body := append(text, blobs...)
	sum := crc32.Checksum(body, castagnoli)
	return append(fmt.Appendf(nil, checkpointHeader, sum, len(text)), body...), nil
}

func decodeCheckpoint(data []byte) (*checkpoint, error) {
	line, body, _ := bytes.Cut(data, []byte("\n"))
	var sum uint32
	var length int
	if _, err := fmt.Sscanf(string(line)+"\n", checkpointHeader, &sum, &length); err != nil {
		return nil, fmt.Errorf("%w: first line %q", errCheckpointDamaged, line[:min(len(line), 80)])
	}
	if crc32.Checksum(body, castagnoli) != sum || length < 0 || length > len(body) {
		return nil, fmt.Errorf("%w: checksum does not match", errCheckpointDamaged)
	}
	in := checkpointJSON{checkpoint: newCheckpoint()}
	if err := json.Unmarshal(body[:length], &in); err != nil {
		return nil, fmt.Errorf("%w: %w", errCheckpointDamaged, err)
	}
	c, rest := in.checkpoint, body[length:]
	c.blobs = map[string][]byte{}
	for _, b := range in.Blobs {
		if b.Length < 0 || b.Length > len(rest) {
			return nil, fmt.Errorf("%w: state of %q is cut", errCheckpointDamaged, b.Name)
		}
		c.blobs[b.Name], rest = rest[:b.Length:b.Length], rest[b.Length:]
	}
	for _, sig := range c.Signals {
		if sig == nil {
			return nil, fmt.Errorf("%w: signal without state", errCheckpointDamaged)
		}
		if sig.Partitions == nil {
			sig.Partitions = map[string]string{}
		}
	}
	return c, nil
}

func (c *checkpoint) write(dir string) error {
	data, err := c.encode()
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, checkpointFile), data)
}

// readCheckpoint returns nil when there is none.
func readCheckpoint(dir string) (*checkpoint, error) {
	data, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	return decodeCheckpoint(data)
}

// clone copies what unsettle changes.
func (c *checkpoint) clone() *checkpoint {
	d := *c
	d.Signals = map[string]*signalState{}
	for name, sig := range c.Signals {
		copied := *sig
		copied.Partitions = map[string]string{}
		for k, v := range sig.Partitions {
			copied.Partitions[k] = v
		}
		d.Signals[name] = &copied
	}
	return &d
}
