package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// LogOptions say which log lines are written, and where to. A zero field is
// taken from the environment, and else is its default.
type LogOptions struct {
	// Level of handlers that are not given their own. GUANLAN_LOG_LEVEL:
	// debug, info, warn, error or, as slog writes levels, info+2; default info.
	Level slog.Leveler
	// File takes lines when it has a path. Failed is set by the SDK. Zero
	// fields are taken from GUANLAN_LOG_FILE (Path),
	// GUANLAN_LOG_FILE_MAX_BYTES, GUANLAN_LOG_FILE_KEEP and
	// GUANLAN_LOG_FILE_COMPRESS. Default: no file.
	File core.FileOptions
	// FileOnly keeps lines from the standard output when there is a file that
	// can be written. GUANLAN_LOG_STDOUT=false; default: they go to both.
	FileOnly bool
}

// Log is where log records go: as lines to the standard output, a file or both,
// and over OTLP. Nothing of it blocks but Flush. It is what bindings of logging
// libraries write to, and safe for concurrent use.
type Log struct {
	stdout *core.Spool  // or nil
	file   *core.Spool  // or nil
	reopen func() error // of the file; or nil
	direct io.Writer    // takes lines at once; nil with an SDK
	after  struct {     // takes lines at once that come after Shutdown; nil of spools of others
		stdout, file io.Writer
	}
	logger *core.Logger // or nil
	level  slog.Leveler
	logOther

	members []string // of baggage, that become attributes
}

func newLog(stdout, file *core.Spool, logger *core.Logger, level slog.Leveler) *Log {
	if level == nil {
		level = slog.LevelInfo
	}
	return &Log{stdout: stdout, file: file, logger: logger, level: level}
}

// unstarted is the Log without an SDK.
var unstarted = &Log{direct: stdoutNow{}, level: slog.LevelInfo}

// stdoutNow is the standard output as it is when something is written.
type stdoutNow struct{}

func (stdoutNow) Write(line []byte) (int, error) { return os.Stdout.Write(line) }

// DefaultLog is the Log of the SDK that was started last. Before, it is one
// that writes lines straight to the standard output.
func DefaultLog() *Log {
	if s := Default(); s != nil {
		return s.log
	}
	return unstarted
}

// Log is where log records go.
func (s *SDK) Log() *Log { return s.log }

// LogHandler makes a slog.Handler of records from level on; nil is the level of
// Options.
func (s *SDK) LogHandler(level slog.Leveler) *LogHandler {
	return &LogHandler{log: s.log, level: level}
}

// Handler makes a slog.Handler of records from the level of l on.
func (l *Log) Handler() *LogHandler { return &LogHandler{log: l} }

// Level is from which level on records are wanted. It may change.
func (l *Log) Level() slog.Level { return l.level.Level() }

func (l *Log) write(line []byte, severity core.Severity) {
	if l.stdout != nil && !l.stdout.Line(line, severity) {
		_ = late(l.stdout, l.after.stdout, line)
	}
	if l.file != nil && !l.file.Line(line, severity) {
		if late(l.file, l.after.file, line) != nil && l.stdout == nil {
			_ = late(l.file, l.after.stdout, line)
		}
	}
	if l.direct != nil {
		_, _ = l.direct.Write(line)
	}
}

// late writes a line past a spool that is closed: why the process ends is often
// told last, when the SDK was shut down already. One that is dropped for want of
// room stays so.
func late(s *core.Spool, to io.Writer, line []byte) error {
	if to == nil || !s.Closed() {
		return nil
	}
	_, err := to.Write(line)
	return err
}

// closedFile is a log file that is closed: it is opened for each line, of which
// only few come.
type closedFile string

func (path closedFile) Write(line []byte) (int, error) {
	info, err := os.Stat(string(path))
	if err == nil && !info.Mode().IsRegular() { // a pipe may have nobody who reads it
		err = errors.ErrUnsupported
	}
	if err != nil {
		return 0, err
	}
	f, err := os.OpenFile(string(path), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	n, err := f.Write(line)
	return n, errors.Join(err, f.Close())
}

// FlushLines waits until the lines so far are written, or ctx ends.
func (l *Log) FlushLines(ctx context.Context) error {
	return l.eachSpool(func(s *core.Spool) error { return s.Flush(ctx) })
}

// Flush waits until the records so far are written and sent, or ctx ends. After
// the SDK was shut down, there is nothing to wait for.
func (l *Log) Flush(ctx context.Context) error {
	if l.logger == nil {
		return l.FlushLines(ctx)
	}
	return together(func() error { return l.FlushLines(ctx) }, func() error {
		if err := l.logger.Flush(ctx); !errors.Is(err, core.ErrClosed) {
			return err
		}
		return nil
	})
}

// closeLines flushes and stops.
func (l *Log) closeLines(ctx context.Context) error {
	return l.eachSpool(func(s *core.Spool) error { return s.Close(ctx) })
}

// Reopen closes the file, if there is one, and opens its path anew. Files that
// others rename or delete are noticed without; call it, at SIGHUP say, when they
// must know that the old one is free. It may wait for the disk.
func (l *Log) Reopen() error {
	if l.reopen == nil {
		return nil
	}
	return l.reopen()
}

func (l *Log) eachSpool(do func(*core.Spool) error) error {
	var all []func() error
	for _, s := range []*core.Spool{l.stdout, l.file} {
		if s != nil {
			all = append(all, func() error { return do(s) })
		}
	}
	return together(all...)
}

// together runs all at once: one that is stuck must not use up the time of the
// others.
func together(all ...func() error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, do := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = do()
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// startLog opens what lines go to. There is always something, also with an
// error.
func startLog(opts LogOptions, failed func(error)) (*Log, error) {
	var file *core.Spool
	var reopen func() error
	var after io.Writer
	var err error
	if opts.File.Path != "" {
		opts.File.Failed = failed
		f, openErr := core.OpenFile(opts.File)
		if openErr == nil {
			file, reopen = core.NewFileSpool(f, 0), f.Reopen
			after = closedFile(f.Path())
		} else {
			err = fmt.Errorf("%w; log lines go to the standard output alone until the service is started again", openErr)
		}
	}
	var stdout *core.Spool
	if file == nil || !opts.FileOnly {
		stdout = core.NewSpool(os.Stdout, 0)
	}
	l := newLog(stdout, file, nil, opts.Level)
	l.reopen = reopen
	l.after.stdout, l.after.file = os.Stdout, after
	return l, err
}

// log reads LogOptions.
func (e *environment) log(opts LogOptions) LogOptions {
	if opts.Level == nil {
		opts.Level = e.level("GUANLAN_LOG_LEVEL")
	}
	const file = "GUANLAN_LOG_FILE"
	if opts.File.Path == "" {
		opts.File.Path, _ = e.text(file)
	}
	if opts.File.MaxBytes == 0 {
		opts.File.MaxBytes = int64(e.count(0, file+"_MAX_BYTES"))
	}
	if opts.File.Keep == 0 {
		opts.File.Keep = e.count(0, file+"_KEEP")
	}
	opts.File.Compress = opts.File.Compress || e.bool(file+"_COMPRESS")
	const stdout = "GUANLAN_LOG_STDOUT"
	if v, _ := e.text(stdout); strings.EqualFold(v, "false") {
		opts.FileOnly = true
	} else {
		e.bool(stdout) // says what is wrong with it
	}
	return opts
}

func (e *environment) level(name string) slog.Level {
	var level slog.Level
	if v, _ := e.text(name); v != "" && level.UnmarshalText([]byte(v)) != nil {
		e.bad(name, "debug, info, warn or error")
	}
	return level
}
