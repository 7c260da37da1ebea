//! A program without its debug sections, because they are most of a debug build and a machine has no
//! use for them. Called by the packer of the running program.
//!
//! Every byte that the loader looks at stays where it is: what is loaded is at the front of the file.
//! Behind it only the sections that are kept follow, and the table of sections, in which the dropped
//! ones stay as empty entries so that no number of a section changes. (`object`'s own builder writes
//! the dynamic tables anew; a copy cannot get them wrong.)

use object::elf::{self, FileHeader64, SectionHeader64};
use object::pod::bytes_of;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, Object as _, ObjectSegment as _, U32, U64};

type Header = FileHeader64<Endianness>;
type Section = SectionHeader64<Endianness>;

/// The program without debug sections. `None`: it has none, or is of a kind that is left alone (not
/// 64-bit ELF, or laid out in an unusual way).
///
/// The symbol table is kept: it is a few megabytes that compress well, and without it the backtrace of
/// a panic on a machine names no function.
pub(super) fn without_debug_sections(program: &[u8]) -> Option<Vec<u8>> {
    let slim = rewrite(program)?;
    same_to_the_loader(program, &slim).then_some(slim)
}

fn rewrite(program: &[u8]) -> Option<Vec<u8>> {
    let header = Header::parse(program).ok()?;
    let endian = header.endian().ok()?;
    let table = header.sections(endian, program).ok()?;
    let loaded = loaded_end(header, endian, program)?;

    let mut sections: Vec<Section> = table.iter().copied().collect();
    let mut order: Vec<usize> = (0..sections.len()).collect();
    order.sort_by_key(|at| sections.get(*at).map(|it| it.sh_offset(endian)));
    let mut slim = program.get(..loaded)?.to_vec();
    let mut dropped = false;
    for at in order {
        let section = sections.get_mut(at)?;
        let data = section.data(endian, program).ok()?;
        let start = usize::try_from(section.sh_offset(endian)).ok()?;
        if data.is_empty() || start.checked_add(data.len())? <= loaded {
            continue;
        }
        // What straddles the end of the loaded part is nothing that a linker writes.
        if start < loaded || section.sh_flags(endian).contains(elf::SHF_ALLOC) {
            return None;
        }
        if is_debug(table.section_name(endian, section).ok()?) {
            section.sh_type = U32::new(endian, elf::SHT_NULL);
            section.sh_offset = U64::new(endian, 0);
            section.sh_size = U64::new(endian, 0);
            dropped = true;
            continue;
        }
        let alignment = usize::try_from(section.sh_addralign(endian)).ok()?.max(1);
        slim.resize(slim.len().checked_next_multiple_of(alignment)?, 0);
        section.sh_offset = U64::new(endian, slim.len() as u64);
        slim.extend_from_slice(data);
    }
    if !dropped {
        return None;
    }
    slim.resize(slim.len().checked_next_multiple_of(TABLE_ALIGNMENT)?, 0);
    let mut header = *header;
    header.e_shoff = U64::new(endian, slim.len() as u64);
    for section in &sections {
        slim.extend_from_slice(bytes_of(section));
    }
    slim.get_mut(..size_of::<Header>())?.copy_from_slice(bytes_of(&header));
    Some(slim)
}

/// The end of what any program header refers to, of the headers' table and of the file header.
fn loaded_end(header: &Header, endian: Endianness, program: &[u8]) -> Option<usize> {
    let segments = header.program_headers(endian, program).ok()?;
    let table = header.e_phoff(endian).checked_add(size_of_val(segments) as u64)?;
    let mut end = table.max(size_of::<Header>() as u64);
    for segment in segments {
        end = end.max(segment.p_offset(endian).checked_add(segment.p_filesz(endian))?);
    }
    usize::try_from(end).ok().filter(|it| *it <= program.len())
}

/// Debug information, compressed or not, and the relocations that belong to it.
fn is_debug(name: &[u8]) -> bool {
    let name = name.strip_prefix(b".rela").or_else(|| name.strip_prefix(b".rel")).unwrap_or(name);
    name.starts_with(b".debug") || name.starts_with(b".zdebug")
}

/// Whether both files are the same program: entry, build id, and each segment's place and content but
/// for the file header, which says where the table of sections is.
fn same_to_the_loader(one: &[u8], other: &[u8]) -> bool {
    let (Ok(a), Ok(b)) = (object::File::parse(one), object::File::parse(other)) else { return false };
    let ids = matches!((a.build_id(), b.build_id()), (Ok(a), Ok(b)) if a == b);
    let segments = a.segments().zip(b.segments()).all(|(a, b)| {
        let header = if a.file_range().0 == 0 { size_of::<Header>() } else { 0 };
        let place = (a.address(), a.size(), a.align(), a.file_range(), a.flags())
            == (b.address(), b.size(), b.align(), b.file_range(), b.flags());
        place && matches!((a.data(), b.data()), (Ok(a), Ok(b)) if a.get(header..) == b.get(header..))
    });
    a.entry() == b.entry() && ids && segments && a.segments().count() == b.segments().count()
}

/// Of the table of sections, as 64-bit ELF asks for.
const TABLE_ALIGNMENT: usize = 8;
