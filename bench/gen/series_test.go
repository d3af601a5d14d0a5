package gen

import (
	"bytes"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// message calls f for each field of a message.
func message(t *testing.T, b []byte, f func(num protowire.Number, bytes []byte, number uint64)) {
	t.Helper()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		var raw []byte
		var v uint64
		switch typ {
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		default:
			t.Fatalf("wire type %d", typ)
		}
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		f(num, raw, v)
	}
}

func TestSeriesAreDistinctAndRise(t *testing.T) {
	const n = 100_000
	s := NewSeries(1, 0, n)
	last := map[string]float64{}
	jobs := map[string]bool{}
	start := time.UnixMilli(1_800_000_000_000)
	for tick := range 2 {
		at := start.Add(time.Duration(tick) * 15 * time.Second)
		message(t, s.Request(at, 0, s.Len()), func(_ protowire.Number, series []byte, _ uint64) {
			key, previous := "", ""
			message(t, series, func(num protowire.Number, b []byte, _ uint64) {
				if num == 1 {
					name, value := "", ""
					message(t, b, func(num protowire.Number, b []byte, _ uint64) {
						if num == 1 {
							name = string(b)
						} else {
							value = string(b)
						}
					})
					if name <= previous {
						t.Fatalf("label %s after %s: want them sorted", name, previous)
					}
					previous = name
					if name == "job" {
						jobs[value] = true
					}
					key += name + "=" + value + ","
					return
				}
				message(t, b, func(num protowire.Number, _ []byte, v uint64) {
					if num == 2 && int64(v) != at.UnixMilli() {
						t.Fatalf("time %d, want %d", v, at.UnixMilli())
					}
					if num == 1 {
						value := math.Float64frombits(v)
						if old, ok := last[key]; ok != (tick == 1) || value < old {
							t.Fatalf("tick %d: %s is %v after %v", tick, key, value, old)
						}
						last[key] = value
					}
				})
			})
		})
	}
	if len(last) != n || len(jobs) != SeriesJobs {
		t.Errorf("%d series of %d jobs, want %d of %d", len(last), len(jobs), n, SeriesJobs)
	}
}

func TestPartsOfSeriesMakeTheWhole(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000)
	a, b := NewSeries(1, 0, 50), NewSeries(1, 0, 50)
	whole := bytes.Clone(a.Request(at, 0, 50))
	parts := append(bytes.Clone(b.Request(at, 0, 20)), b.Request(at, 20, 50)...)
	if !bytes.Equal(whole, parts) {
		t.Error("the parts of a request differ from the whole")
	}
}
