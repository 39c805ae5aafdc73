package tarfile

import (
	"archive/zip"
	"fmt"
	"io"
	"time"
)

// WriteZip writes the same as a zip archive, which Windows opens without a program of its own.
func WriteZip(w io.Writer, files []File, modified time.Time) error {
	archive := zip.NewWriter(w)
	for _, file := range files {
		header := &zip.FileHeader{Name: file.Name, Method: zip.Deflate, Modified: modified.UTC()}
		header.SetMode(0o644)
		if file.Executable {
			header.SetMode(0o755)
		}
		out, err := archive.CreateHeader(header)
		if err != nil {
			return fmt.Errorf("archive %s: %w", file.Name, err)
		}
		if _, err := out.Write(file.Data); err != nil {
			return fmt.Errorf("archive %s: %w", file.Name, err)
		}
	}
	return archive.Close()
}
