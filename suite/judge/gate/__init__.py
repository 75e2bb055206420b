"""The gate: may one release replace another, by their step maps, random parts and outcomes?"""
