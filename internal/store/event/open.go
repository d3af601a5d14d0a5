package event

import (
	"path/filepath"
)

// Open opens the data folder, replaying what was acknowledged but not on disk
// when the last process ended.
func Open(opts Options) (*Store, error) { return openTimed(opts, normally) }

func openTimed(opts Options, tm timing) (*Store, error) {
	var spans *spanCodec
	var logs *logCodec
	s, err := open(opts, func(opts Options) (codecs, error) {
		roll, err := openRollup(filepath.Join(opts.Dir, "rollup"))
		if err != nil {
			return codecs{}, err
		}
		spans = newSpanCodec(opts.Traces.kept(), roll)
		logs = newLogCodec(opts.Logs.kept(), newTail())
		return codecs{
			spans:   spans.appendRows,
			logs:    logs.appendRows,
			helpers: map[string]checkpointed{"traces": spans, "logs": logs},
		}, nil
	}, tm)
	if err != nil {
		return nil, err
	}
	s.reader = newReader(s.traces.db, s.logs.db, spans, logs)
	return s, nil
}

// normally is the timing outside tests.
var normally = timing{
	linger: groupLinger,
	bytes:  checkpointBytes, rows: checkpointRows,
	after:   checkpointAfter,
	settle:  settleAfter,
	refresh: refreshAfter,
}
