package profile

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"testing"

	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

// TestReplayWaits reads, writes and closes while what a kill left is still as it
// stands in the journal.
func TestReplayWaits(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	var want []string
	put := func(service, name string) {
		t.Helper()
		want = append(want, "main;"+name+" 1")
		slices.Sort(want)
		write(t, s, store.Tenant{}, of(service, cpu(noon, "main;"+name+" 1")))
	}
	for i := range 40 {
		put(fmt.Sprint("s", i%4), fmt.Sprintf("f%02d", i))
	}
	s.abandon()

	// reopen opens the store with nobody who works anything in.
	reopen := func() {
		t.Helper()
		var err error
		if s, err = load(o, osDisk{}); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	if st := s.Stats(); st.Replayed != 40 || st.Profiles != 40 || st.HeadBytes == 0 || s.settled() {
		t.Fatalf("all of it should wait: %+v", st)
	}
	list, err := s.Series(t.Context(), hour())
	if err != nil || len(list) != 4 || list[0].Profiles != 10 {
		t.Fatalf("%v, %v", list, err)
	}
	same(t, "worked in by a reader", merged(t, s, hour()), want...)
	if !s.settled() {
		t.Error("a reader leaves something")
	}
	s.abandon()

	// A writer does not wait, and nobody sees the half.
	reopen()
	put("s0", "new")
	if s.settled() {
		t.Error("a writer works in what waits")
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			m, err := sumOf(s, hour(), "cpu", true)
			if err != nil || m.Profiles != len(want) {
				t.Errorf("with what is new: %v, %v", m, err)
			}
		})
	}
	readers.Wait()
	s.abandon()

	// Closed before it was done: the journal has it, once.
	reopen()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reopen()
	if st := s.Stats(); st.Replayed != 41 || st.Segments != 0 {
		t.Errorf("after a close: %+v", st)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	same(t, "in a segment", merged(t, s, hour()), want...)
	s.abandon()
	reopen()
	if st := s.Stats(); st.Replayed != 0 || st.Profiles != 41 {
		t.Errorf("after a flush: %+v", st)
	}
	same(t, "once", merged(t, s, hour()), want...)
	s.abandon()
}

// TestReplayFindsDamageLate: a body whose checksum holds but that does not decode
// is counted when it is worked in, and the others of the series are there.
func TestReplayFindsDamageLate(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	write(t, s, store.Tenant{}, of("shop", cpu(noon, "main;kept 1")))
	one := newSeries(store.Tenant{}, "cpu", map[string]string{"service.name": "shop"})
	b := newBuilder()
	rows := []row{b.add(cpu(noon, "main;lost 1"), noon.UnixNano())}
	payload, f, err := appendFrame(nil, s.encoder, 0, summarize(one, &b.table, rows), &b.table, rows)
	if err != nil {
		t.Fatal(err)
	}
	body := payload[frameHeader+int(f.summary):]
	body[len(body)-1] ^= 0xff // as a sender's memory error would before the sum was made
	f.sumBody = crc32.Checksum(body, castagnoli)
	binary.LittleEndian.PutUint32(payload[20:], f.sumBody)
	binary.LittleEndian.PutUint32(payload[24:], crc32.Update(0, castagnoli, payload[:24]))
	if _, err := s.journal.Append(t.Context(), journal.Tag{}, payload); err != nil {
		t.Fatal(err)
	}
	s.abandon()
	s = mustOpen(t, o)
	same(t, "merged", merged(t, s, hour()), "main;kept 1")
	if st := s.Stats(); st.Damaged != 1 || st.Profiles != 1 {
		t.Errorf("%+v", st)
	}
}
