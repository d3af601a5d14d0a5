package core

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// openTest opens app.log in a folder.
func openTest(t *testing.T, dir string, opts FileOptions) *File {
	t.Helper()
	opts.Path = filepath.Join(dir, "app.log")
	if opts.Failed == nil {
		opts.Failed = func(err error) { t.Error(err) }
	}
	f, err := OpenFile(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func write(t *testing.T, f *File, text string) {
	t.Helper()
	if n, err := f.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write takes %d of %d bytes, error %v", n, len(text), err)
	}
}

// settled waits until old files have been looked after.
func (f *File) settled() {
	for {
		f.mu.Lock()
		done := !f.tidying
		f.mu.Unlock()
		if done {
			return
		}
		runtime.Gosched()
	}
}

// contents is what is in the old files and the file, by name.
func contents(t *testing.T, dir string) (names []string, all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil && strings.HasSuffix(e.Name(), ".gz") {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(text)); err == nil {
				text, err = io.ReadAll(z)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		names, all = append(names, e.Name()), append(all, string(text))
	}
	return names, all
}

func TestFileRotates(t *testing.T) {
	for _, compress := range []bool{false, true} {
		dir := t.TempDir()
		bystander := filepath.Join(dir, "app-web-20260102T150405.000.log")
		if err := os.WriteFile(bystander, []byte("another's\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f := openTest(t, dir, FileOptions{MaxBytes: 100, Keep: 3, Compress: compress})
		var want strings.Builder
		for i := range 40 {
			line := fmt.Sprintf("line %02d\n", i) // 8 bytes: 12 lines fit
			want.WriteString(line)
			write(t, f, line)
		}
		// Many lines at once are divided; one that is too long has a file alone.
		write(t, f, strings.Repeat("1234567\n", 20)+strings.Repeat("x", 300)+"\nlast\n")
		f.settled()
		names, texts := contents(t, dir)
		old := regexp.MustCompile(`^app-\d{8}T\d{6}\.\d{3}\.log$`)
		if compress {
			old = regexp.MustCompile(`^app-\d{8}T\d{6}\.\d{3}\.log\.gz$`)
		}
		if len(names) != 5 || !old.MatchString(names[0]) || !old.MatchString(names[1]) || !old.MatchString(names[2]) || names[4] != "app.log" {
			t.Fatalf("files %q, want three old ones, another's and app.log", names)
		}
		if texts[4] != "last\n" || texts[2] != strings.Repeat("x", 300)+"\n" || !strings.HasSuffix(texts[1], "1234567\n") {
			t.Errorf("old files %q", texts)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.Write([]byte("late\n")); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
		if info, err := os.Stat(f.Path()); err != nil || info.Mode().Perm()&0o137 != 0 {
			t.Errorf("mode %v, error %v; others must not read it", info.Mode(), err)
		}
	}
}

// Nothing is lost or doubled by moving, whatever the sizes are.
// What has no end must not keep the file, and whoever writes next, busy for ever.
func TestFileTakesWhatHasNoEnd(t *testing.T) {
	for _, first := range []string{"", "0123456\n"} {
		dir := t.TempDir()
		f, err := OpenFile(FileOptions{Path: filepath.Join(dir, "app.log"), MaxBytes: 10})
		if err != nil {
			t.Fatal(err)
		}
		if first != "" {
			write(t, f, first)
		}
		endless := "whole\n" + strings.Repeat("x", 50)
		done := make(chan error, 1)
		go func() {
			_, err := f.Write([]byte(endless))
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("Write does not return") // nor would Close
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, texts := contents(t, dir); strings.Join(texts, "") != first+endless {
			t.Errorf("the files hold %q, want %q", texts, first+endless)
		}
	}
}

func TestFileKeepsEveryLine(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir, FileOptions{MaxBytes: 1000, Keep: -1})
	spool := NewFileSpool(f, 1<<20)
	var want []string
	for i := range 2000 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%150))
		want = append(want, line)
		if !spool.Line([]byte(line), SeverityInfo) {
			t.Fatal("dropped")
		}
		if i%97 == 0 {
			if err := spool.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := spool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, texts := contents(t, dir)
	if got := strings.Join(texts, ""); got != strings.Join(want, "") {
		t.Errorf("%d files hold other lines than were written", len(names))
	}
	for i, text := range texts {
		if len(text) > 1000 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s has %d bytes, ends with %q", names[i], len(text), text[max(0, len(text)-10):])
		}
	}
	if s := spool.Stats(); s.Written != 2000 || s.Failed != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestFileIsDaily(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 20, 23, 59, 0, 0, time.UTC)
	opts := FileOptions{Path: filepath.Join(dir, "app.log"), Every: 24 * time.Hour, MaxAge: 36 * time.Hour, Failed: func(err error) { t.Error(err) }}
	var clock atomic.Pointer[time.Time]
	set := func(at time.Time) { clock.Store(&at) }
	set(now)
	f, err := newFile(opts, openFile, func() time.Time { return *clock.Load() })
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "friday\n")
	set(now.Add(2 * time.Minute))
	write(t, f, "saturday\n")
	set(now.Add(time.Minute)) // the clock is set back
	write(t, f, "saturday, too\n")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// Nobody was there at midnight.
	if err := os.Chtimes(f.Path(), time.Time{}, now.Add(3*time.Minute)); err != nil {
		t.Fatal(err)
	}
	set(now.Add(26 * time.Hour))
	if f, err = newFile(opts, openFile, func() time.Time { return *clock.Load() }); err != nil {
		t.Fatal(err)
	}
	write(t, f, "sunday\n")
	f.settled()
	names, texts := contents(t, dir)
	if fmt.Sprintf("%q", texts) != `["friday\n" "saturday\nsaturday, too\n" "sunday\n"]` {
		t.Errorf("%q in %q", texts, names)
	}
	set(now.Add(50 * time.Hour))
	write(t, f, "monday\n")
	f.settled()
	if names, texts = contents(t, dir); fmt.Sprintf("%q", texts) != `["saturday\nsaturday, too\n" "sunday\n" "monday\n"]` {
		t.Errorf("after 36 hours %q in %q", texts, names)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a killed process left behind is put in order.
func TestFileIsRepaired(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, "whole\n")
	_ = z.Close()
	file("app.log", "whole\nbro")
	file("app-20260102T150405.000.log", "being compressed\n")
	file("app-20260102T150405.000.log.gz.tmp", "half")
	file("app-20260103T150405.000.log", "whole\n")
	file("app-20260103T150405.000.log.gz", zipped.String())
	f := openTest(t, dir, FileOptions{Compress: true})
	write(t, f, "next\n")
	f.settled()
	names, texts := contents(t, dir)
	if fmt.Sprintf("%q", names) != `["app-20260102T150405.000.log.gz" "app-20260103T150405.000.log.gz" "app.log"]` ||
		fmt.Sprintf("%q", texts) != `["being compressed\n" "whole\n" "whole\nbro\nnext\n"]` {
		t.Errorf("%q in %q", texts, names)
	}
}

// Others may rename, delete, cut and replace the file.
func TestFileSurvivesLogrotate(t *testing.T) {
	dir := t.TempDir()
	f := openTest(t, dir, FileOptions{Every: time.Hour})
	path, moved := f.Path(), filepath.Join(dir, "moved")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(path, want string) {
		t.Helper()
		if got, err := os.ReadFile(path); string(got) != want || err != nil {
			t.Errorf("%s holds %q, error %v, want %q", filepath.Base(path), got, err, want)
		}
	}
	write(t, f, "1\n")
	must(os.Rename(path, moved))
	write(t, f, "2\n")
	want(moved, "1\n")
	want(path, "2\n")
	must(os.Remove(path))
	write(t, f, "3\n")
	want(path, "3\n")
	must(os.RemoveAll(dir))
	write(t, f, "4\n")
	want(path, "4\n")
	must(os.Truncate(path, 0)) // copytruncate
	write(t, f, "5\n")
	want(path, "5\n")
	must(os.Rename(path, moved))
	must(os.WriteFile(path, []byte("theirs"), 0o600))
	write(t, f, "6\n")
	want(path, "theirs\n6\n")
	must(os.Rename(path, moved))
	must(f.Reopen())
	want(path, "")
	must(f.Close())
	if err := f.Reopen(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Reopen after Close: %v", err)
	}
}

func TestFileOfALink(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "data", "target.log")
	if err := errors.Join(os.Mkdir(filepath.Dir(target), 0o700), os.WriteFile(target, nil, 0o600), os.Symlink(target, filepath.Join(dir, "app.log"))); err != nil {
		t.Skipf("make a symbolic link: %v", err)
	}
	f := openTest(t, dir, FileOptions{MaxBytes: 4})
	write(t, f, "123\n456\n")
	f.settled()
	if names, _ := contents(t, filepath.Dir(target)); len(names) != 2 {
		t.Errorf("beside the target are %q, want an old file there", names)
	}
}

func TestOpenFileErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                                    "want a path",
		dir:                                   "is a directory",
		filepath.Join(dir, "file", "app.log"): "not a directory",
	} {
		if f, err := OpenFile(FileOptions{Path: path}); f != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %q: %v, want it named and %q", path, err, want)
		}
	}
}

// disk is files on a disk that gets full or breaks.
type disk struct {
	room   atomic.Int64 // bytes that it takes yet; below 0: any
	broken atomic.Bool  // it cannot be truncated, and syncs fail
	syncs  atomic.Int64
}

type diskFile struct {
	*os.File
	d *disk
}

func (d *disk) open(path string) (handle, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return diskFile{f.(*os.File), d}, nil
}

func (f diskFile) Write(b []byte) (int, error) {
	room := f.d.room.Load()
	if room < 0 || int64(len(b)) <= room {
		if room >= 0 {
			f.d.room.Add(-int64(len(b)))
		}
		return f.File.Write(b)
	}
	f.d.room.Store(0)
	n, err := f.File.Write(b[:room])
	return n, errors.Join(err, syscall.ENOSPC)
}

func (f diskFile) Truncate(size int64) error {
	if f.d.broken.Load() {
		return syscall.EIO
	}
	return f.File.Truncate(size)
}

func (f diskFile) Sync() error {
	f.d.syncs.Add(1)
	if f.d.broken.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

// A full disk costs lines, which are counted and told of once; half a line is
// taken back, or if that fails, ended. With room, lines go on.
func TestFileOnAFullDisk(t *testing.T) {
	for _, broken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var d disk
			d.room.Store(25)
			d.broken.Store(broken)
			var told []error
			path := filepath.Join(t.TempDir(), "app.log")
			f, err := newFile(FileOptions{Path: path, Sync: -1, Failed: func(err error) { told = append(told, err) }}, d.open, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			spool := NewFileSpool(f, 0)
			lines := func(from, to int) {
				for i := from; i < to; i++ {
					spool.Line(fmt.Appendf(nil, "line %04d\n", i), SeverityInfo)
					if i%2 == 1 {
						if err := spool.Flush(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			lines(0, 10)
			if s := spool.Stats(); s.Written != 2 || s.Failed != 8 || s.Dropped != 0 {
				t.Errorf("full: stats %+v", s)
			}
			if len(told) != 1 || !errors.Is(told[0], syscall.ENOSPC) || !strings.Contains(told[0].Error(), path) {
				t.Errorf("told %v, want one message with the path", told)
			}
			time.Sleep(pauseAfterFailure)
			lines(10, 12)
			if len(told) != 2 || !strings.Contains(told[1].Error(), "8 lines lost") {
				t.Errorf("told %v, want a second message after a minute, with what was lost meanwhile", told)
			}
			d.room.Store(-1)
			lines(12, 14)
			d.broken.Store(false)
			if err := spool.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if s := spool.Stats(); s.Written != 4 || s.Failed != 10 {
				t.Errorf("with room again: stats %+v", s)
			}
			want := "line 0000\nline 0001\nline 0012\nline 0013\n"
			if broken {
				want = "line 0000\nline 0001\nline \nline 0012\nline 0013\n"
			}
			if got, err := os.ReadFile(path); string(got) != want || err != nil {
				t.Errorf("the file holds %q, error %v, want %q", got, err, want)
			}
		})
	}
}

// A file that cannot be moved goes on, and is tried again after a while.
func TestFileThatCannotBeMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var told []error
		f, err := newFile(FileOptions{Path: filepath.Join(dir, "app.log"), MaxBytes: 4, Sync: -1, Failed: func(err error) { told = append(told, err) }}, openFile, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		f.settled()
		f.old.dir = filepath.Join(dir, "missing")
		write(t, f, "123\n456\n789\n")
		write(t, f, "abc\n")
		f.settled()
		if got, err := os.ReadFile(f.Path()); string(got) != "123\n456\n789\nabc\n" || err != nil || len(told) != 1 {
			t.Errorf("%q, error %v, told %v", got, err, told)
		}
		f.old.dir = dir
		time.Sleep(pauseAfterFailure)
		write(t, f, "def\n")
		f.settled()
		if _, texts := contents(t, dir); fmt.Sprintf("%q", texts) != `["123\n456\n789\nabc\n" "def\n"]` {
			t.Errorf("a minute later %q", texts)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFileIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		d.room.Store(-1)
		f, err := newFile(FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}, d.open, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		spool := NewFileSpool(f, 0)
		// Lines for ten seconds: one sync each second at most.
		for range 1000 {
			spool.Line([]byte("info\n"), SeverityInfo)
			time.Sleep(10 * time.Millisecond)
		}
		if n := d.syncs.Load(); n < 9 || n > 11 {
			t.Errorf("%d syncs in 10 s, want one each second", n)
		}
		time.Sleep(time.Minute)
		before := d.syncs.Load()
		time.Sleep(time.Minute)
		if n := d.syncs.Load(); n != before {
			t.Errorf("%d syncs although nothing was written", n-before)
		}
		spool.Line([]byte("error\n"), SeverityError)
		time.Sleep(2 * spoolLinger)
		if n := d.syncs.Load(); n != before+1 {
			t.Errorf("%d syncs at once after an error, want 1", n-before)
		}
		for range 100 { // a storm
			spool.Line([]byte("error\n"), SeverityError)
			time.Sleep(10 * time.Millisecond)
		}
		if n := d.syncs.Load() - before - 1; n < 9 || n > 11 {
			t.Errorf("%d syncs in a second of errors, want one each %v", n, urgentSync)
		}
		time.Sleep(time.Second)
		spool.Line([]byte("last\n"), SeverityInfo)
		before = d.syncs.Load()
		if err := spool.Close(t.Context()); err != nil || d.syncs.Load() == before {
			t.Errorf("Close does not sync, error %v", err)
		}
	})
}

// A writer that is stuck for good makes no one wait who logs.
func TestSpoolNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which time goes on only when all wait
		stuck := make(chan struct{})
		spool := NewSpool(stuckWriter{stuck, make(chan struct{}, 10)}, 64<<10)
		line := []byte(strings.Repeat("x", 99) + "\n")
		began := time.Now()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				for range 100 {
					spool.Line(line, SeverityError)
				}
			})
		}
		wg.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("waited %v", d)
		}
		if s := spool.Stats(); s.Dropped < 98_000 || s.Waiting > 64<<10 {
			t.Errorf("stats %+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := spool.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		close(stuck)
		<-spool.done
		if s := spool.Stats(); s.Written+s.Dropped != 100_000 {
			t.Errorf("stats %+v", s)
		}
	})
}

// halfWriter takes half of what it is given first.
type halfWriter struct {
	bytes.Buffer
	called bool
}

func (w *halfWriter) Write(b []byte) (int, error) {
	if !w.called {
		w.called = true
		n, _ := w.Buffer.Write(b[:len(b)/2+1])
		return n, errors.New("interrupted")
	}
	return w.Buffer.Write(b)
}

func TestSpoolKeepsHalfLinesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w halfWriter
		s := NewSpool(&w, 0)
		for _, text := range []string{"aa\n", "bb\n", "cc\n"} {
			s.Line([]byte(text), SeverityInfo)
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		s.Line([]byte("dd\n"), SeverityInfo)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if st := s.Stats(); w.String() != "aa\nbb\ndd\n" || st.Written != 2 || st.Failed != 2 {
			t.Errorf("%q is written, stats %+v", w.String(), st)
		}
	})
}
