//go:build linux

package tcp

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// Slots of the object's ledger, for the next process to go on from.
const (
	suppressedSlot = iota // how many events the limit kept back, as reported
	reportedSlot          // end of the last report, ns since 1970
)

// told is a map beside those of the kernel's programs, which do not use it: what
// of each sum was reported. A process that takes the sums over reports what came
// since. It is written before a report is handed over: if the process is killed in
// between, that report is lost, and nothing is told twice.
type told struct {
	*ebpf.Map
	keys   []tcpKey // with the table's number in Pad
	values []tcpSum
}

func toldSpec(spec *ebpf.CollectionSpec) *ebpf.MapSpec {
	sums := spec.Maps["sums"]
	return &ebpf.MapSpec{Name: "told", Type: ebpf.Hash, KeySize: sums.KeySize, ValueSize: sums.ValueSize,
		MaxEntries: sums.MaxEntries + spec.Maps["others"].MaxEntries}
}

func (t *told) put(table uint32, k tcpKey, v *tcpSum) {
	if t == nil {
		return
	}
	k.Pad = table
	t.keys = append(t.keys, k)
	t.values = append(t.values, *v)
}

// forget follows put and flush: a sum that is gone begins at zero if it comes again.
func (t *told) forget(table uint32, k tcpKey) {
	if t == nil {
		return
	}
	for i := 0; i < len(t.keys); {
		if was := t.keys[i]; was.Pad == table {
			if was.Pad = k.Pad; was == k {
				last := len(t.keys) - 1
				t.keys[i], t.values[i] = t.keys[last], t.values[last]
				t.keys, t.values = t.keys[:last], t.values[:last]
				continue
			}
		}
		i++
	}
	k.Pad = table
	_ = t.Delete(k) // or it was never told
}

// flush writes what was put.
func (t *told) flush() error {
	if t == nil || len(t.keys) == 0 {
		return nil
	}
	_, err := t.BatchUpdate(t.keys, t.values, nil)
	t.keys, t.values = t.keys[:0], t.values[:0]
	if err != nil {
		return fmt.Errorf("note what was reported: %w", err)
	}
	return nil
}

// goOn takes up where the process before stopped.
func (p *poller) goOn() error {
	var state tcpPoll
	if err := p.object.Map("polls").Lookup(uint32(0), &state); err != nil {
		return fmt.Errorf("read the last poll: %w", err)
	}
	p.epoch = state.Epoch
	p.suppressed = p.object.Ledger(suppressedSlot)
	if at := p.object.Ledger(reportedSlot); at != 0 {
		p.last = time.Unix(0, int64(at))
	}
	var cursor ebpf.MapBatchCursor
	for {
		n, err := p.told.BatchLookup(&cursor, p.keys, p.values, nil)
		for i, k := range p.keys[:n] {
			t := p.tables[min(k.Pad, 1)]
			k.Pad = 0
			// A sum that was deleted as idle just before the process was killed, and
			// came again, begins at zero.
			var now tcpSum
			if err := t.Lookup(k, &now); err != nil || less(&now, &p.values[i]) {
				_ = p.told.Delete(p.keys[i])
				continue
			}
			t.before[k] = &known{tcpSum: p.values[i]}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what was reported: %w", err)
		}
	}
}

func less(a, b *tcpSum) bool {
	return a.BytesSent < b.BytesSent || a.BytesReceived < b.BytesReceived || a.DataSegs < b.DataSegs || a.Rtts < b.Rtts ||
		a.Connects < b.Connects || a.Accepts < b.Accepts || a.Closed < b.Closed || a.Waits < b.Waits
}
