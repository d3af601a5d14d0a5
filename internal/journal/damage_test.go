package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sample is a journal of one closed segment, and where its records end.
func sample(t testing.TB) (name string, data []byte, want []entry, ends []int) {
	t.Helper()
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{})
	end := 0
	for _, payload := range []string{"first", "", strings.Repeat("\xa7GJ\x01", 20), "x", string(make([]byte, 60)), "last one"} {
		want = append(want, mustAppend(t, j, payload))
		end += headerSize + len(payload)
		ends = append(ends, end)
	}
	j.Close()
	path := segmentFiles(t, dir)[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != end {
		t.Fatalf("segment has %d bytes, want %d", len(data), end)
	}
	return filepath.Base(path), data, want, ends
}

// reopen puts data in place of the only segment and reads it as a restart
// does, once more after another record.
func reopen(t testing.TB, dir, name string, data []byte) (got []entry, s Stats) {
	t.Helper()
	old, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range old {
		os.Remove(f)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := open(dir, Options{}, &faults{plan: plan{noSync: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	got = replay(t, j, 0)
	s = j.Stats()
	more := mustAppend(t, j, "more")
	if again := replay(t, j, 0); !cmp.Equal(again, append(slices.Clone(got), more)) {
		t.Fatalf("after another record: %v", again)
	}
	return got, s
}

func TestEveryByteDamaged(t *testing.T) {
	name, data, want, ends := sample(t)
	dir := t.TempDir()
	for i := range data {
		for _, to := range []byte{data[i] ^ 0xff, data[i] ^ 1, 0, magic[0]} {
			if to == data[i] {
				continue
			}
			damaged := slices.Clone(data)
			damaged[i] = to
			hit, _ := slices.BinarySearch(ends, i+1)
			got, s := reopen(t, dir, name, damaged)
			if diff := cmp.Diff(slices.Delete(slices.Clone(want), hit, hit+1), got); diff != "" {
				t.Fatalf("byte %d to %#x (-want +got):\n%s", i, to, diff)
			}
			if s.Damaged+s.Torn != 1 {
				t.Fatalf("byte %d to %#x: counted %d damaged, %d torn", i, to, s.Damaged, s.Torn)
			}
		}
	}
}

func TestEveryCut(t *testing.T) {
	name, data, want, ends := sample(t)
	dir := t.TempDir()
	for n := range data {
		whole, at := slices.BinarySearch(ends, n)
		if at {
			whole++
		}
		torn := uint64(1)
		if at || n == 0 {
			torn = 0
		}
		for _, zeros := range []int{0, 1, 5000} { // file systems may leave zeros behind
			got, s := reopen(t, dir, name, append(data[:n:n], make([]byte, zeros)...))
			w := want[:whole:whole]
			// A record that ends in zeros may be completed by them.
			if len(got) == whole+1 && cmp.Equal(got[whole], want[whole]) && zeros > 0 {
				continue
			}
			if diff := cmp.Diff(w, got, cmp.Transformer("", func(e []entry) []entry { return append([]entry{}, e...) })); diff != "" {
				t.Fatalf("cut at %d, %d zeros (-want +got):\n%s", n, zeros, diff)
			}
			if zeros == 0 && (s.Torn != torn || s.Damaged != 0) {
				t.Fatalf("cut at %d: counted %d torn, %d damaged, want %d, 0", n, s.Torn, s.Damaged, torn)
			}
		}
	}
}

// Damage in a segment that others follow is counted in full.
func TestDamageInOldSegment(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{SegmentBytes: int64(3 * (headerSize + 4))})
	var want []entry
	for range 9 {
		want = append(want, mustAppend(t, j, "data"))
	}
	j.Close()
	path := segmentFiles(t, dir)[1]
	if err := os.Truncate(path, int64(headerSize+4+10)); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, dir, Options{})
	if diff := cmp.Diff(slices.Delete(want, 4, 6), replay(t, j, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := j.Stats(); s.Damaged != 2 || s.Torn != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// A payload that holds what looks like a record must not be replayed when the
// true header in front of it is gone.
func TestPayloadCannotPose(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{})
	posing := make([]byte, headerSize+6)
	copy(posing[headerSize:], "forged")
	putHeader(posing, 0, 2, crc32.Checksum(posing[headerSize:], castagnoli), &Tag{})
	mustAppend(t, j, string(posing))
	want := mustAppend(t, j, "true")
	j.Close()
	path := segmentFiles(t, dir)[0]
	data, _ := os.ReadFile(path)
	data[5] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, dir, Options{})
	if diff := cmp.Diff([]entry{want}, replay(t, j, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestModel runs random operations, crashes and failures of the device, and
// compares with a list.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		opts := Options{
			Sync:         rapid.SampledFrom([]SyncPolicy{SyncInterval, SyncAlways}).Draw(rt, "policy"),
			SegmentBytes: rapid.Int64Range(1, 600).Draw(rt, "segment"),
		}
		d := &faults{plan: plan{noSync: true}}
		j, err := open(dir, opts, d)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { j.Close() }()
		var list []entry
		removed := uint64(0) // below it records may be gone

		reopen := func() {
			if j, err = open(dir, opts, d); err != nil {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				payload := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "payload")
				tag := Tag{rapid.Byte().Draw(rt, "tag")}
				seq, err := j.Append(context.Background(), tag, payload)
				if err != nil {
					rt.Fatal(err)
				}
				if n := len(list); n > 0 && seq != list[n-1].Seq+1 {
					rt.Fatalf("number %d after %d", seq, list[n-1].Seq)
				}
				list = append(list, entry{seq, tag, string(payload)})
			},
			"refuse": func(rt *rapid.T) {
				part := rapid.IntRange(0, 100).Draw(rt, "percent written")
				p := plan{noSync: true, write: func(n int) (int, error) { return n * part / 100, errDevice }}
				if rapid.Bool().Draw(rt, "truncation fails") {
					p.truncate = errDevice
				}
				d.set(p)
				if _, err := j.Append(context.Background(), Tag{}, []byte("refused record")); err == nil {
					rt.Fatal("accepted on a broken device")
				}
				d.set(plan{noSync: true})
			},
			"fsync fails": func(rt *rapid.T) {
				d.set(plan{sync: errDevice})
				seq, err := j.Append(context.Background(), Tag{}, []byte("not synced"))
				if opts.Sync == SyncAlways && err == nil {
					rt.Fatal("accepted without fsync")
				}
				if err == nil {
					list = append(list, entry{seq, Tag{}, "not synced"})
					_ = j.Sync()
				}
				d.set(plan{noSync: true})
			},
			"truncate": func(rt *rapid.T) {
				if len(list) == 0 {
					return
				}
				seq := rapid.Uint64Range(0, list[len(list)-1].Seq+1).Draw(rt, "before")
				if err := j.TruncateBefore(seq); err != nil {
					rt.Fatal(err)
				}
				removed = max(removed, seq)
			},
			"close and open": func(rt *rapid.T) {
				if err := j.Close(); err != nil {
					rt.Fatal(err)
				}
				reopen()
			},
			"crash": func(rt *rapid.T) {
				// Cut the newest segment anywhere, as if the kernel had not
				// got further, and forget the records behind the cut.
				j.mu.Lock()
				last := j.segs[max(0, len(j.segs)-1):]
				j.mu.Unlock()
				j.Close()
				if len(last) > 0 && last[0].size > 0 {
					cut := rapid.Int64Range(0, last[0].size).Draw(rt, "cut")
					if err := os.Truncate(filepath.Join(dir, last[0].name()), cut); err != nil {
						rt.Fatal(err)
					}
					var at int64
					list = slices.DeleteFunc(list, func(e entry) bool {
						if e.Seq < last[0].first {
							return false
						}
						at += int64(headerSize + len(e.Payload))
						return at > cut
					})
				}
				reopen()
			},
			"": func(rt *rapid.T) {
				var want []entry
				for _, e := range list {
					if e.Seq >= removed {
						want = append(want, e)
					}
				}
				if diff := cmp.Diff(want, replay(rt, j, removed)); diff != "" {
					rt.Fatalf("(-want +got):\n%s", diff)
				}
				if s := j.Stats(); s.Damaged != 0 {
					rt.Fatalf("damage counted in a sound journal: %+v", s)
				}
			},
		})
	})
}

func FuzzSegment(f *testing.F) {
	const salt = 0x5a17
	var sound []byte
	for seq := range uint64(3) {
		frame := make([]byte, headerSize+int(seq)*10)
		putHeader(frame, salt, seq+1, crc32.Checksum(frame[headerSize:], castagnoli), &Tag{1})
		sound = append(sound, frame...)
	}
	f.Add(sound, uint64(1), uint64(0))
	f.Add(sound[:len(sound)-3], uint64(2), uint64(3))
	f.Add(sound[20:], uint64(0), uint64(3))
	f.Add(bytes.Repeat(magic[:], 30), uint64(1), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, from, limit uint64) {
		sc := scanner{data: data, salt: salt, next: 1, from: from, limit: limit}
		var last uint64
		for sc.scan() {
			r := sc.record
			if r.seq <= last || r.seq < from || limit != 0 && r.seq >= limit {
				t.Fatalf("record %d after %d, wanted from %d below %d", r.seq, last, from, limit)
			}
			last = r.seq
			// What is emitted must be somewhere in the data, as it was written.
			frame := make([]byte, headerSize+len(r.payload))
			copy(frame[headerSize:], r.payload)
			putHeader(frame, salt, r.seq, crc32.Checksum(r.payload, castagnoli), &r.tag)
			if !bytes.Contains(data, frame) {
				t.Fatalf("record %d does not stand in the segment", r.seq)
			}
		}
		if sc.end > int64(len(data)) {
			t.Fatalf("end %d behind %d bytes", sc.end, len(data))
		}
	})
}

func TestHeaderLayout(t *testing.T) {
	frame := append(make([]byte, headerSize), "ab"...)
	tag := Tag{7, 23: 9}
	putHeader(frame, 5, 0x0102, crc32.Checksum([]byte("ab"), castagnoli), &tag)
	le := binary.LittleEndian
	if headerSize != 48 || !bytes.Equal(frame[:4], []byte("\xa7GJ\x01")) ||
		le.Uint64(frame[8:]) != 0x0102 || le.Uint32(frame[16:]) != 2 ||
		le.Uint32(frame[20:]) != crc32.Checksum([]byte("ab"), castagnoli) ||
		Tag(frame[24:48]) != tag ||
		le.Uint32(frame[4:]) != crc32.Update(5, castagnoli, frame[8:48]) {
		t.Errorf("layout changed, files of older versions cannot be read: % x", frame)
	}
}
