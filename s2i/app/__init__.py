"""The web page: speak or type a sentence, see what it generates. `page` alone knows gradio."""
