package event

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func sampleCheckpoint() *checkpoint {
	return &checkpoint{
		Clean: true,
		Time:  time.Date(2026, 11, 20, 12, 0, 0, 5, time.UTC),
		Signals: map[string]*signalState{
			"traces": {Applied: 77, Also: []uint64{79, 83}, Partitions: map[string]string{"20261119": "", "20261120": "20261120103000-18A"}},
			"logs":   {Applied: 1<<64 - 1, Partitions: map[string]string{}},
		},
		blobs: map[string][]byte{"rollup": {0, 1, '\n', 0xff}, "empty": {}},
	}
}

var compareCheckpoints = cmp.Options{cmp.AllowUnexported(checkpoint{}), cmpopts.EquateEmpty()}

func TestCheckpointRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := &checkpoint{
			Clean:   rapid.Bool().Draw(rt, "clean"),
			Time:    time.Unix(rapid.Int64Range(0, 1<<32).Draw(rt, "time"), 0).UTC(),
			Signals: map[string]*signalState{},
			blobs:   rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Byte())).Draw(rt, "blobs"),
		}
		for _, name := range rapid.SliceOf(rapid.String()).Draw(rt, "signals") {
			want.Signals[name] = &signalState{
				Applied:    rapid.Uint64().Draw(rt, "applied"),
				Also:       rapid.SliceOf(rapid.Uint64()).Draw(rt, "also"),
				Partitions: rapid.MapOf(rapid.String(), rapid.String()).Draw(rt, "partitions"),
			}
		}
		data, err := want.encode()
		if err != nil {
			rt.Fatal(err)
		}
		got, err := decodeCheckpoint(data)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compareCheckpoints); diff != "" {
			rt.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestEveryByteOfCheckpointCounts(t *testing.T) {
	data, err := sampleCheckpoint().encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if _, err := decodeCheckpoint(data[:i]); !errors.Is(err, errCheckpointDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		for _, bit := range []byte{1, 0x80} {
			data[i] ^= bit
			got, err := decodeCheckpoint(data)
			if err == nil { // a flip may be in the spelling: a letter of the checksum
				if diff := cmp.Diff(sampleCheckpoint(), got, compareCheckpoints); diff != "" {
					t.Fatalf("byte %d flipped (-want +got):\n%s", i, diff)
				}
			} else if !errors.Is(err, errCheckpointDamaged) {
				t.Fatalf("byte %d flipped: %v", i, err)
			}
			data[i] ^= bit
		}
	}
}

func FuzzDecodeCheckpoint(f *testing.F) {
	data, err := sampleCheckpoint().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("guanlan checkpoint 1 00000000 0\n"))
	f.Add([]byte("guanlan checkpoint 1 5e2c5a3e -9\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeCheckpoint(data)
		if err != nil {
			if !errors.Is(err, errCheckpointDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeCheckpoint(again); err != nil {
			t.Fatal(err)
		}
	})
}

// A record appended again after a lost tail must not be taken for one that the
// checkpoint contains.
func TestProgress(t *testing.T) {
	p := newProgress(10)
	for _, seq := range []uint64{13, 11, 15} {
		p.done(seq)
	}
	applied, ahead := p.state()
	if applied != 11 || !cmp.Equal(ahead, []uint64{13, 15}, cmpopts.SortSlices(func(a, b uint64) bool { return a < b })) {
		t.Errorf("applied %d, ahead %v", applied, ahead)
	}
	p.done(12)
	p.done(14)
	if applied, ahead = p.state(); applied != 15 || len(ahead) != 0 {
		t.Errorf("applied %d, ahead %v", applied, ahead)
	}
	waited := make(chan error)
	go func() { waited <- p.wait(t.Context(), 16) }()
	p.done(16)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}
