package publish

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hybridtoken/hybridtoken/internal/diskfile"
)

// others knows the records that an outbox is to keep beside those that wait, which a
// [publisher] does. It is asked while the outbox's lock is held.
type others interface{ acknowledgedAlive() []*record }

// alive returns what the file is to hold. The caller holds mu.
func (o *outbox) alive() (list []*record) {
	if o.others != nil {
		list = o.others.acknowledgedAlive()
	}
	list = append(list, o.untold...)
	for _, rec := range o.open {
		list = append(list, rec)
	}
	return list
}

// maxAside bounds the damaged files that are kept.
const maxAside = 99

// setAside gives the damaged file a second name, under which it stays when it is written
// anew. The caller holds mu or has the outbox to itself.
func (o *outbox) setAside() (err error) {
	for i := range maxAside {
		name := fmt.Sprintf("%s.damaged.%d", o.path, i+1)
		if err = os.Link(o.path, name); err != nil && !errors.Is(err, fs.ErrExist) {
			err = copyFile(o.path, name) // where a file has one name only
		}
		if errors.Is(err, fs.ErrExist) && !diskfile.Same(o.path, name) { // it is, where it could not be written anew the last time
			continue
		}
		if err == nil || errors.Is(err, fs.ErrExist) {
			o.aside = name
			err = diskfile.SyncFolder(filepath.Dir(name), o.syncFile)
		}
		break
	}
	if err != nil {
		return fmt.Errorf("the damaged outbox cannot be set aside: %w", err)
	}
	return nil
}

// copyFile copies a file, as a whole or not at all, to a name that nothing has.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	_, err = diskfile.Create(to, (*os.File).Sync, func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
	return err
}

// rewrite replaces the file, as a whole, by one with those records. The caller holds mu
// or has the outbox to itself.
func (o *outbox) rewrite(alive []*record) (err error) {
	if o.damaged > 0 && o.aside == "" && !o.isEmpty() {
		if err := o.setAside(); err != nil {
			return err
		}
	}
	info, err := diskfile.Replace(o.path, o.syncFile, func(file io.Writer) error {
		w := bufio.NewWriter(file)
		w.Write(outboxHead(o.issuers))
		for _, rec := range alive {
			w.Write(encodeOutboxEntry(entryOf(rec)))
		}
		return w.Flush() // which has the error of any write
	})
	if info == nil {
		return err
	}
	if o.file != nil {
		o.file.Close() // it has no name any more: whatever comes, the new one is the one
	}
	file, opening := os.OpenFile(o.path, os.O_WRONLY|os.O_APPEND, 0)
	if o.file = file; opening != nil {
		return opening
	}
	o.written, o.torn = info.Size(), false
	o.compactAt = max(compactAfter, 2*o.written)
	return err
}

// isEmpty reports whether there is nothing in the file to be kept.
func (o *outbox) isEmpty() bool {
	info, err := os.Stat(o.path)
	return err != nil || info.Size() == 0
}
