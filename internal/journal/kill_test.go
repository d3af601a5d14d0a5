package journal

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// childDir, when set in the environment, turns the test binary into the
// process that TestKill kills.
const childDir = "JOURNAL_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child appends from several goroutines for ever and prints the number and
// the checksum of every record that was accepted.
func child(dir string) {
	policy := SyncInterval
	if rand.IntN(2) == 0 {
		policy = SyncAlways
	}
	j, err := Open(dir, Options{Sync: policy, SegmentBytes: 1 << 20})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				payload := make([]byte, rand.IntN(1<<rand.IntN(19)))
				for i := 0; i+8 <= len(payload); i += 8 {
					binary.NativeEndian.PutUint64(payload[i:], rand.Uint64())
				}
				seq, err := j.Append(context.Background(), Tag{}, payload)
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println("ack", seq, checksum(payload))
			}
		})
	}
	wg.Wait()
}

func checksum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// TestKill kills a real process in the middle of its appends, several times on
// the same journal, and looks for every record that was accepted.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	acked := map[uint64]uint64{}
	removed := uint64(0)
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(20+rand.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var seq, sum uint64
			if _, err := fmt.Sscanf(lines.Text(), "ack %d %d", &seq, &sum); err != nil {
				continue // the line that the kill cut, or an error below
			}
			if _, twice := acked[seq]; twice {
				t.Fatalf("round %d: number %d given twice", round, seq)
			}
			acked[seq] = sum
		}
		_ = cmd.Wait()

		j := mustOpen(t, dir, Options{})
		got, last := map[uint64]uint64{}, uint64(0)
		err = j.Replay(removed, func(seq uint64, _ Tag, payload []byte) error {
			got[seq] = checksum(payload)
			last = seq
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for seq, sum := range acked {
			if seq >= removed && got[seq] != sum {
				t.Errorf("round %d: record %d: checksum %d, want %d", round, seq, got[seq], sum)
			}
		}
		s := j.Stats()
		if s.Damaged != 0 {
			t.Errorf("round %d: %+v", round, s)
		}
		t.Logf("round %d: %d acked in all, %d read, last %d, %d torn", round, len(acked), len(got), last, s.Torn)
		if round%3 == 2 {
			removed = last / 2
			if err := j.TruncateBefore(removed); err != nil {
				t.Fatal(err)
			}
		}
		j.Close()
	}
}
