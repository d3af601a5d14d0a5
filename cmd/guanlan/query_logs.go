package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/query"
)

func newQueryLogs(a *asking) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs [FILTER...]",
		Short: "List log records, newest last; --follow prints new ones as they come",
		Example: `  guanlan query logs 'severity >= error and service.name = order'
  guanlan query logs trace_id = 4bf92f3577b34da6a3ce929d0e0e4736
  guanlan query logs --follow "out of stock"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow {
				return a.follow(cmd, args, func(l query.Log) error {
					if a.output == "json" {
						return json.NewEncoder(cmd.OutOrStdout()).Encode(l)
					}
					printLog(cmd.OutOrStdout(), l)
					return nil
				})
			}
			params := a.window(args)
			params.Set("limit", strconv.Itoa(a.limit))
			var list query.LogList
			if err := a.get(cmd.Context(), "/guanlan/v1/logs", params, &list); err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			for i := len(list.Logs) - 1; i >= 0; i-- {
				printLog(cmd.OutOrStdout(), list.Logs[i])
			}
			return nil
		},
	}
	a.list(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print records as they are accepted, until Ctrl-C")
	return cmd
}

func printLog(w io.Writer, l query.Log) {
	line := fmt.Sprintf("%s %-5s %s  %s", clock(l.Time), strings.ToUpper(l.Severity), l.Service, l.Body)
	if l.TraceID != "" {
		line += "  trace=" + l.TraceID
	}
	fmt.Fprintln(w, printable(line))
}

// longestEvent bounds one event of the live tail; a record's own limits keep
// it far below.
const longestEvent = 4 << 20

// follow reads the live tail: server-sent events whose data is a TailEvent.
func (a *asking) follow(cmd *cobra.Command, filter []string, each func(query.Log) error) error {
	params := a.window(filter)
	params.Del("start")
	params.Del("end")
	body, err := a.open(cmd.Context(), "/guanlan/v1/logs/tail", params)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, longestEvent)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var e query.TailEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("decode an event of the live tail: %w", err)
		}
		if e.Log.ID == "" && e.Log.Time.IsZero() {
			continue // an event of another kind, such as a heartbeat
		}
		if e.Lost > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "… %d records were skipped: this reader was slower than the logs\n", e.Lost)
		}
		if err := each(e.Log); err != nil {
			return err
		}
	}
	if cmd.Context().Err() != nil {
		return nil // Ctrl-C is how a tail ends
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the live tail: %w", err)
	}
	return errors.New("the server ended the live tail; is it stopping?")
}
